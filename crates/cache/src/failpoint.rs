//! Named ways to break coherence on purpose, so that a checker can show that it would notice. Compiled to nothing without the
//! feature `failpoints`.

/// The names: what each one breaks stands where it is asked.
pub const NAMES: [&str; 6] = [
    "ignore-before-images",
    "forget-order-columns",
    "no-fence",
    "drop-1-in-1000",
    "forget-claims",
    "forget-kept",
];

#[cfg(feature = "failpoints")]
static SET: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Whether a failpoint is on.
#[cfg(feature = "failpoints")]
pub fn is_set(name: &str) -> bool {
    let set = SET.load(std::sync::atomic::Ordering::Relaxed);
    set != 0 && NAMES.iter().position(|n| *n == name).is_some_and(|i| set >> i & 1 == 1)
}

/// Whether a failpoint is on: never, in a build without them.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn is_set(_name: &str) -> bool {
    false
}

/// Switches a failpoint on or off, for the whole process.
#[cfg(feature = "failpoints")]
pub fn set(name: &str, on: bool) {
    use std::sync::atomic::Ordering::Relaxed;
    if let Some(i) = NAMES.iter().position(|n| *n == name) {
        if on {
            SET.fetch_or(1 << i, Relaxed)
        } else {
            SET.fetch_and(!(1 << i), Relaxed)
        };
    }
}
