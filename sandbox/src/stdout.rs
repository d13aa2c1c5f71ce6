//! Standard output of the command.

use std::io::{self, Write as _};

/// Prints text as it is.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}
