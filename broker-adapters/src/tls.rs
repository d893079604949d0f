//! The provider of cryptography that the brokers' clients use.

/// Makes `ring` the process's provider, unless another one was chosen. The clients take the process's.
pub(crate) fn use_ring() {
    // An error says that there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
