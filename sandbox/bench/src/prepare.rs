//! Prepares a sandbox for a measurement.

use sandbox_machine::{Image, Name, Progress, Sandbox};

use crate::error::Result;

/// A sandbox that is up, with the images loaded and the operator installed by its chart with the
/// chart's own values.
pub(crate) fn prepare(name: &Name, progress: Progress) -> Result<Sandbox> {
    let sandbox = Sandbox::up(name, progress)?;
    let loaded = sandbox.images(&Image::ALL, None, progress)?;
    sandbox.check_loaded(&loaded)?;
    progress.say("installing the operator with its chart");
    sandbox.install_operator(&[])?;
    Ok(sandbox)
}
