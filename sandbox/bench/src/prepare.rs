//! Prepares a sandbox for a measurement.

use sandbox_machine::{Image, ImageBinaries, Name, Progress, Sandbox};

use crate::error::Result;

/// A sandbox that is up, with the images loaded and the operator installed by its chart with the
/// chart's own values.
pub(crate) fn prepare(name: &Name, progress: Progress) -> Result<Sandbox> {
    let binaries = ImageBinaries::of(&Image::ALL, None, progress)?;
    let sandbox = Sandbox::up(name, progress)?;
    let loaded = sandbox.images(binaries, progress)?;
    sandbox.check_loaded(&loaded)?;
    progress.say("installing the operator with its chart");
    sandbox.install_operator(&[])?;
    Ok(sandbox)
}
