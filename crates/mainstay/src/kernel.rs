//! What this room asks of the kernel, through libc: no huge pages for this process, and as many file descriptors as it may have.
//!
//! The allocator asks for huge pages where it may, and an idle process then keeps two megabytes for each that it needs a little of: 42 MiB
//! instead of 28. Requests cost the same without, as measured.
#![allow(unsafe_code)]

/// Asks. What is refused stays as it was.
pub fn ask() {
    #[cfg(target_os = "linux")]
    refuse_huge_pages();
    #[cfg(unix)]
    raise_descriptors();
}

/// Has the kernel back this process by small pages alone.
#[cfg(target_os = "linux")]
fn refuse_huge_pages() {
    // SAFETY: no pointers are involved.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// A shell gives 1,024 to be kind to programs that use `select`, which none here does; each client is one.
#[cfg(unix)]
fn raise_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls are given one limit that lives as long as they do.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            let _ = libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
