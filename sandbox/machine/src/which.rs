//! Finds programs on the machine. Reads the file system, starts nothing.

use std::path::PathBuf;

/// The folders in which programs of the machine are looked for, after PATH.
const SYSTEM_FOLDERS: [&str; 5] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
];

/// Finds a program in PATH and the usual folders.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The folder of the newest PostgreSQL, as Debian and its relatives lay it out.
pub(crate) fn postgres_folder() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            folder
                .join("postgres")
                .is_file()
                .then_some((version, folder))
        })
        .max()
        .map(|(_, folder)| folder)
}
