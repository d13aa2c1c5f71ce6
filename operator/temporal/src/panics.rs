//! What a panic says. Plain text.

use std::any::Any;

/// The message of a panic, as `catch_unwind` returns it.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it gave no message")
}
