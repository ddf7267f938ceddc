//! A file system for SQLite that keeps what is written in the process's memory until it is synced, so that killing the process is what
//! pulling the plug is elsewhere: everything unsynced is gone, or has reached the disk in part and in any order.
#![allow(unsafe_code)]

use rusqlite::ffi;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Loss {
    /// Every page that was not synced.
    Unsynced = 0,
    /// Most pages that were not synced: some reach the disk early, in any order.
    Some = 1,
    /// Syncing the log does nothing: a store on such a disk must lose what it acknowledged, or the test finds nothing.
    Lies = 2,
}

const PAGE: usize = 512;

/// A file: what the process sees of it, and which pages the disk has not got.
struct Content {
    disk: File,
    bytes: Vec<u8>,
    dirty: BTreeSet<usize>,
    is_log: bool,
}

type Shared = Arc<Mutex<Content>>;

/// What SQLite takes for a file: ours, followed by the platform's, which does the locking.
#[repr(C)]
struct LossyFile {
    base: ffi::sqlite3_file,
    content: *const Mutex<Content>,
}

static PLATFORM: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());
static MODE: AtomicU8 = AtomicU8::new(0);
static DICE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

fn files() -> MutexGuard<'static, HashMap<PathBuf, Shared>> {
    static FILES: OnceLock<Mutex<HashMap<PathBuf, Shared>>> = OnceLock::new();
    FILES.get_or_init(Mutex::default).lock().unwrap()
}

/// One time in `n`.
fn chance(n: u64) -> bool {
    let mut dice = DICE.load(Ordering::Relaxed);
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    DICE.store(dice, Ordering::Relaxed);
    dice.is_multiple_of(n)
}

/// Registers the file system; its name is for `Config::vfs`.
pub fn register(loss: Loss, seed: u64) -> String {
    MODE.store(loss as u8, Ordering::SeqCst);
    DICE.store(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, Ordering::SeqCst);
    let name = CString::new("lossy").unwrap();
    // SAFETY: the structure is a copy of the platform's with functions that keep its promises, and lives for ever.
    unsafe {
        let platform = ffi::sqlite3_vfs_find(std::ptr::null());
        PLATFORM.store(platform, Ordering::SeqCst);
        let mut vfs = std::ptr::read(platform);
        vfs.szOsFile += size_of::<LossyFile>() as c_int;
        vfs.zName = name.into_raw();
        vfs.pNext = std::ptr::null_mut();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        assert_eq!(
            ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0),
            ffi::SQLITE_OK
        );
    }
    "lossy".to_owned()
}

fn path_of(name: *const c_char) -> PathBuf {
    // SAFETY: SQLite hands over a C string.
    PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

unsafe fn platform_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocated room for both.
    unsafe { file.cast::<LossyFile>().add(1).cast() }
}

unsafe fn content<'a>(file: *mut ffi::sqlite3_file) -> MutexGuard<'a, Content> {
    // SAFETY: set when the file was opened; the registry keeps it alive.
    unsafe { (*(*file.cast::<LossyFile>()).content).lock().unwrap() }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `file` has room for both structures, as `szOsFile` asked for.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let platform = PLATFORM.load(Ordering::SeqCst);
        let Some(platform_open) = (*platform).xOpen else {
            return ffi::SQLITE_ERROR;
        };
        let code = platform_open(platform, name, platform_file(file), flags, out_flags);
        if code != ffi::SQLITE_OK {
            return code;
        }
        assert!(!name.is_null(), "a temporary file, although they are kept in memory");
        let path = path_of(name);
        let mut files = files();
        let shared = files.entry(path.clone()).or_insert_with(|| {
            let disk = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut &disk, &mut bytes).unwrap();
            let is_log = flags & ffi::SQLITE_OPEN_WAL != 0;
            Arc::new(Mutex::new(Content {
                disk,
                bytes,
                dirty: BTreeSet::new(),
                is_log,
            }))
        });
        (*file.cast::<LossyFile>()).content = Arc::into_raw(shared.clone());
        (*file).pMethods = &METHODS;
        code
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    files().remove(&path_of(name));
    let platform = PLATFORM.load(Ordering::SeqCst);
    // SAFETY: handed through.
    unsafe {
        (*platform)
            .xDelete
            .map_or(ffi::SQLITE_ERROR, |delete| delete(platform, name, sync))
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the count taken by `open` is given back once.
    unsafe {
        drop(Arc::from_raw((*file.cast::<LossyFile>()).content));
        let inner = platform_file(file);
        (*(*inner).pMethods).xClose.map_or(ffi::SQLITE_OK, |close| close(inner))
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: `out` has `length` bytes.
    let (content, out) = unsafe {
        (
            content(file),
            std::slice::from_raw_parts_mut(out.cast::<u8>(), length as usize),
        )
    };
    let there = content.bytes.get(offset as usize..).unwrap_or_default();
    let there = &there[..there.len().min(out.len())];
    out[..there.len()].copy_from_slice(there);
    out[there.len()..].fill(0);
    if there.len() == out.len() {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_IOERR_SHORT_READ
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: `data` has `length` bytes.
    let (mut content, data) = unsafe {
        (
            content(file),
            std::slice::from_raw_parts(data.cast::<u8>(), length as usize),
        )
    };
    let (start, end) = (offset as usize, offset as usize + data.len());
    if content.bytes.len() < end {
        content.bytes.resize(end, 0);
    }
    content.bytes[start..end].copy_from_slice(data);
    for page in start / PAGE..=(end - 1) / PAGE {
        content.dirty.insert(page);
        if MODE.load(Ordering::Relaxed) == Loss::Some as u8 && chance(4) {
            content.flush(page);
        }
    }
    ffi::SQLITE_OK
}

impl Content {
    fn flush(&mut self, page: usize) {
        let start = page * PAGE;
        if let Some(bytes) = self.bytes.get(start..) {
            self.disk
                .write_all_at(&bytes[..bytes.len().min(PAGE)], start as u64)
                .unwrap();
        }
        self.dirty.remove(&page);
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: an open file of ours, as for all below.
    unsafe { content(file) }.bytes.resize(size as usize, 0);
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    let mut content = unsafe { content(file) };
    if MODE.load(Ordering::Relaxed) == Loss::Lies as u8 && content.is_log {
        return ffi::SQLITE_OK;
    }
    for page in std::mem::take(&mut content.dirty) {
        content.flush(page);
    }
    content.disk.set_len(content.bytes.len() as u64).unwrap();
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    unsafe { *size = content(file).bytes.len() as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // Sizes are ours; a hint must not reach the disk.
    if operation == ffi::SQLITE_FCNTL_SIZE_HINT || operation == ffi::SQLITE_FCNTL_CHUNK_SIZE {
        return ffi::SQLITE_OK;
    }
    unsafe {
        let inner = platform_file(file);
        (*(*inner).pMethods)
            .xFileControl
            .map_or(ffi::SQLITE_NOTFOUND, |control| control(inner, operation, argument))
    }
}

macro_rules! handed_through {
    ($($name:ident = $method:ident ($($argument:ident: $ty:ty),*) -> $result:ty, $default:expr;)*) => {
        $(unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $ty)*) -> $result {
            // SAFETY: the platform's file was opened beside ours.
            unsafe {
                let inner = platform_file(file);
                (*(*inner).pMethods).$method.map_or($default, |method| method(inner $(, $argument)*))
            }
        })*
    };
}

handed_through! {
    lock = xLock(level: c_int) -> c_int, ffi::SQLITE_OK;
    unlock = xUnlock(level: c_int) -> c_int, ffi::SQLITE_OK;
    check_reserved_lock = xCheckReservedLock(out: *mut c_int) -> c_int, ffi::SQLITE_OK;
    sector_size = xSectorSize() -> c_int, 0;
    device_characteristics = xDeviceCharacteristics() -> c_int, 0;
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int, ffi::SQLITE_IOERR;
    shm_lock = xShmLock(offset: c_int, n: c_int, flags: c_int) -> c_int, ffi::SQLITE_IOERR;
    shm_barrier = xShmBarrier() -> (), ();
    shm_unmap = xShmUnmap(delete: c_int) -> c_int, ffi::SQLITE_OK;
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2: shared memory, but no memory mapping.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
