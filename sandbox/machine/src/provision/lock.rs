//! A lock: only one command provisions at a time.

use std::fs::File;

use crate::{
    error::{Attempt, Result},
    paths::Paths,
    progress::Progress,
};

/// Two commands that provision at the same time would do everything twice.
pub(crate) fn lock(paths: &Paths, progress: Progress) -> Result<File> {
    let file = paths.cache.join("lock");
    let lock = File::create(&file).attempt(|| format!("creating {}", file.display()))?;
    if lock.try_lock().is_err() {
        progress.say("another sandbox command is provisioning this machine; waiting for it");
        lock.lock()
            .attempt(|| format!("locking {}", file.display()))?;
    }
    Ok(lock)
}
