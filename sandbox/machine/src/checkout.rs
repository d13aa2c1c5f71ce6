//! Finds the checkout that this program was built from. Reads the file system.

use std::path::{Path, PathBuf};

use crate::error::{Attempt, Result};

/// The checkout that this program was built from: charts, CRDs and the Dockerfile are there.
pub fn checkout() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder
        .canonicalize()
        .attempt(|| format!("finding the checkout at {}", folder.display()))
}
