//! How the order worker is linked: its relative relocations packed (RELR), which is a bitmap of some kilobytes instead
//! of 1.6 MB of entries that are all read, and stay in memory, when the process starts. A linker that does not know
//! this (GNU ld before 2.38) says so and links without it.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo::rerun-if-changed=build.rs");
}
