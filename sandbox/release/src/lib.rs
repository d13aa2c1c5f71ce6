//! `cargo sandbox release`: makes the folder of a release from finished binaries, and checks it.
//! Starts cargo, go, buildah, helm and tar; publishes nothing and asks no server.

mod binaries;
mod chart;
mod check;
mod checksums;
mod executable;
mod folder;
mod greeting;
mod images;
mod krew;
mod macos;
mod make;
mod notes;
mod oci;
mod options;
mod platform;
mod program;
mod quickstart;
mod revision;
mod tools;

pub use binaries::compile;
pub use chart::plain_yaml;
pub use check::check;
pub use make::make;
pub use options::Options;
pub use program::Program;
