//! The one call into libc of this room: `getrusage`, whose microseconds `/proc/self/stat` (hundredths) cannot give.
#![allow(unsafe_code)]

/// User and system CPU time of the process so far, in microseconds; `None` where the system refuses to say.
pub(crate) fn cpu_micros() -> Option<u64> {
    // SAFETY: `rusage` is plain old data for which all-zero bytes are a valid value, and the pointer lives for the call.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let answer = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    if answer != 0 {
        return None;
    }
    let micros =
        |t: libc::timeval| u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(t.tv_usec).unwrap_or(0);
    Some(micros(usage.ru_utime) + micros(usage.ru_stime))
}

/// Bytes of a page of memory.
pub(crate) fn page_size() -> u64 {
    // SAFETY: no pointers are involved.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
