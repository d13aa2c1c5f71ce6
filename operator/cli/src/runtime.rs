//! The runtime of a command that talks to a server. Starts threads.

/// Installs the TLS provider, and runs `work` on a new tokio runtime.
///
/// # Errors
/// Those of `work`, and if the runtime cannot start.
pub fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is already installed"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}
