//! Atomic writes of files, JSON files, and folders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Attempt, Error, Result};

/// Reads a JSON file; `None` where there is none.
pub fn read_json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io {
            what: format!("reading {}", file.display()),
            source,
        }),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Json {
                what: file.display().to_string(),
                source,
            }),
    }
}

/// Writes a JSON file so that a reader sees the old content or the new, never a part.
pub fn write_json<T: Serialize>(file: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| Error::Json {
        what: file.display().to_string(),
        source,
    })?;
    text.push(b'\n');
    write_file(file, &text)
}

/// Writes a file so that a reader sees the old content or the new, never a part.
pub fn write_file(file: &Path, content: &[u8]) -> Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    fs::write(&beside, content).attempt(|| format!("writing {}", beside.display()))?;
    fs::rename(&beside, file).attempt(|| format!("writing {}", file.display()))
}

/// Like [`write_file`], for content that only its owner may read.
pub fn write_secret(file: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".secret.tmp");
    let beside = PathBuf::from(beside);
    fs::write(&beside, b"").attempt(|| format!("writing {}", beside.display()))?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::write(&beside, content))
        .and_then(|()| fs::rename(&beside, file))
        .attempt(|| format!("writing {}", file.display()))
}

/// Makes a folder and the folders above it.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).attempt(|| format!("creating the folder {}", folder.display()))
}

/// Removes a folder and all that is in it; nothing happens where there is none.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.attempt(|| format!("removing {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_with_its_content_and_may_be_missing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a");
        make_folder(&folder.join("b")).unwrap();
        write_file(&folder.join("b/c"), b"text").unwrap();
        remove_folder(&folder).unwrap();
        assert!(!folder.exists());
        remove_folder(&folder).unwrap();
    }
}
