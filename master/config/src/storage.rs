//! Keeping config versions: their files and inputs, sealed with a key from the settings, because they
//! may hold passwords. Whoever has the database but not the key learns names of files and variables
//! only, and cannot exchange one version's part for another's.

use async_trait::async_trait;
use buildguild_types::farm::ConfigHash;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use crate::settings::Secret;
use crate::source::FarmBundle;

/// The first byte of sealed content: what follows is a nonce and the sealed text.
const FORMAT: u8 = 1;
/// The name of the part that says which file is the main one.
const MAIN: &str = "main";

/// Where versions that are not in memory can be found.
#[async_trait]
pub trait StoredVersions: Send + Sync {
    /// The version of that hash; nothing if it is not kept, or cannot be had now.
    async fn find(&self, hash: &ConfigHash) -> Option<FarmBundle>;
}

/// A part of a kept version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// True for a file of the config, false for an input.
    pub is_file: bool,
    /// The file's path; for inputs `env:NAME`, `read:PATH` or `main`.
    pub name: String,
    /// The sealed content.
    pub content: Vec<u8>,
}

/// Why a version cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system gives no random numbers.
    #[error("seal the config version: no random numbers")]
    Random,
    /// A part was sealed with another key, or was changed.
    #[error("open `{0}` of the config version: it was sealed with another key, or is damaged")]
    Sealed(String),
    /// A part is not what it should be.
    #[error("open `{0}` of the config version: it cannot be understood")]
    Content(String),
    /// The parts are not the version that they should be.
    #[error("open the config version: its parts do not give its hash")]
    WrongHash,
}

/// The key that seals versions.
pub struct StorageKey(LessSafeKey);

impl std::fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageKey(***)")
    }
}

impl StorageKey {
    /// The key of the setting `farm.storage_key`, which should be as hard to guess as one made by
    /// [`new_storage_key`].
    ///
    /// # Errors
    /// If no key can be derived.
    pub fn new(secret: &Secret) -> Result<Self, StorageError> {
        let derived = Salt::new(HKDF_SHA256, b"buildguild config versions").extract(secret.expose().as_bytes());
        let okm = derived.expand(&[b"chacha20-poly1305"], &CHACHA20_POLY1305).map_err(|_| StorageError::Random)?;
        Ok(Self(LessSafeKey::new(UnboundKey::from(okm))))
    }

    /// Seals a version.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn seal(&self, bundle: &FarmBundle) -> Result<Vec<StoredPart>, StorageError> {
        let hash = bundle.hash();
        let mut parts = Vec::new();
        let mut add = |is_file: bool, name: String, content: &dyn erased::Json| -> Result<(), StorageError> {
            let content = self.seal_text(&hash, is_file, &name, content.to_json())?;
            parts.push(StoredPart { is_file, name, content });
            Ok(())
        };
        add(false, MAIN.to_owned(), &bundle.main)?;
        for (name, input) in &bundle.files {
            add(true, name.clone(), input)?;
        }
        for (name, input) in &bundle.reads {
            add(false, format!("read:{name}"), input)?;
        }
        for (name, value) in &bundle.env {
            add(false, format!("env:{name}"), value)?;
        }
        Ok(parts)
    }

    /// Opens a version.
    ///
    /// # Errors
    /// If a part was sealed with another key or changed, or parts are missing.
    pub fn open(&self, hash: &ConfigHash, parts: &[StoredPart]) -> Result<FarmBundle, StorageError> {
        let mut bundle = FarmBundle::default();
        for part in parts {
            let text = self.open_text(hash, part)?;
            let bad = |_| StorageError::Content(part.name.clone());
            if part.is_file {
                bundle.files.insert(part.name.clone(), serde_json::from_slice(&text).map_err(bad)?);
            } else if let Some(name) = part.name.strip_prefix("read:") {
                bundle.reads.insert(name.to_owned(), serde_json::from_slice(&text).map_err(bad)?);
            } else if let Some(name) = part.name.strip_prefix("env:") {
                bundle.env.insert(name.to_owned(), serde_json::from_slice(&text).map_err(bad)?);
            } else if part.name == MAIN {
                bundle.main = serde_json::from_slice(&text).map_err(bad)?;
            } else {
                return Err(StorageError::Content(part.name.clone()));
            }
        }
        if bundle.hash() == *hash { Ok(bundle) } else { Err(StorageError::WrongHash) }
    }

    fn seal_text(
        &self,
        hash: &ConfigHash,
        is_file: bool,
        name: &str,
        mut text: Vec<u8>,
    ) -> Result<Vec<u8>, StorageError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| StorageError::Random)?;
        let aad = Aad::from(context(hash, is_file, name));
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .map_err(|_| StorageError::Random)?;
        let mut sealed = vec![FORMAT];
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Ok(sealed)
    }

    fn open_text(&self, hash: &ConfigHash, part: &StoredPart) -> Result<Vec<u8>, StorageError> {
        let sealed = || StorageError::Sealed(part.name.clone());
        let (nonce, text) =
            part.content.strip_prefix(&[FORMAT]).and_then(|c| c.split_at_checked(NONCE_LEN)).ok_or_else(sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| sealed())?;
        let mut text = text.to_vec();
        let aad = Aad::from(context(hash, part.is_file, &part.name));
        let opened = self.0.open_in_place(nonce, aad, &mut text).map_err(|_| sealed())?;
        Ok(opened.to_vec())
    }
}

/// What a part is sealed for: it cannot be moved to another version or name.
fn context(hash: &ConfigHash, is_file: bool, name: &str) -> Vec<u8> {
    format!("{}\n{}\n{name}", hash.0, if is_file { "file" } else { "input" }).into_bytes()
}

/// A new key for `farm.storage_key`: 256 random bits as text.
///
/// # Errors
/// If the system gives no random numbers.
pub fn new_storage_key() -> Result<String, StorageError> {
    let mut bytes = [0u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StorageError::Random)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

mod erased {
    /// Anything that can be written as JSON.
    pub(super) trait Json {
        fn to_json(&self) -> Vec<u8>;
    }

    impl<T: serde::Serialize> Json for T {
        fn to_json(&self) -> Vec<u8> {
            // Texts and options of texts always are JSON.
            serde_json::to_vec(self).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Input;

    fn bundle() -> FarmBundle {
        let mut bundle = FarmBundle::single("master.cfg", "c = 'hunter2'");
        bundle.env.insert("A".to_owned(), Some("x".to_owned()));
        bundle.env.insert("B".to_owned(), None);
        bundle.reads.insert("r".to_owned(), Input::Failed("there is no such file".to_owned()));
        bundle
    }

    fn key(text: &str) -> StorageKey {
        StorageKey::new(&Secret::new(text)).expect("a key")
    }

    #[test]
    fn a_version_comes_back_with_its_key_only() {
        let bundle = bundle();
        let hash = bundle.hash();
        let parts = key("k").seal(&bundle).expect("sealed");
        assert_eq!(key("k").open(&hash, &parts).expect("opened"), bundle);
        assert!(parts.iter().all(|p| !String::from_utf8_lossy(&p.content).contains("hunter2")));
        assert!(matches!(key("l").open(&hash, &parts), Err(StorageError::Sealed(_))));
        assert!(matches!(key("k").open(&hash, &parts[1..]), Err(StorageError::WrongHash)));
    }

    #[test]
    fn parts_cannot_be_exchanged() {
        let bundle = bundle();
        let hash = bundle.hash();
        let mut parts = key("k").seal(&bundle).expect("sealed");
        let content = parts[3].content.clone();
        parts[4].content = content;
        assert!(matches!(key("k").open(&hash, &parts), Err(StorageError::Sealed(_))));
        parts[4].content = vec![FORMAT, 1, 2];
        assert!(matches!(key("k").open(&hash, &parts), Err(StorageError::Sealed(_))));
    }
}
