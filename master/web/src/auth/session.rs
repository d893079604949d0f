//! The session cookie: a JSON Web Token (RFC 7519) signed with HMAC-SHA-256, so that any replica with the same key
//! knows the user without a look-up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::user::UserInfo;

/// The name of the cookie, which clients of Buildbot know.
pub(crate) const COOKIE: &str = "TWISTED_SESSION";
/// How long a log-in lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// The header of every token: base64 of `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// Tokens beyond this size were not made here.
const MAX_TOKEN_LEN: usize = 4096;

/// The key that signs sessions; all replicas of a cluster have the same one.
#[derive(Clone)]
pub(crate) struct SessionKey(Hmac<Sha256>);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    user_info: UserInfo,
    /// Seconds since the epoch.
    exp: u64,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl SessionKey {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    fn mac(&self, text: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(text)
    }

    /// A token that says that the user logged in at `now`.
    pub(crate) fn sign(&self, user: &UserInfo, now: SystemTime) -> String {
        let claims = Claims { user_info: user.clone(), exp: seconds(now + LIFETIME) };
        let claims = serde_json::to_vec(&claims).expect("texts and numbers serialise");
        let signed = format!("{HEADER}.{}", BASE64.encode(claims));
        let signature = BASE64.encode(self.mac(signed.as_bytes()).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// The user whom a token names, if it was signed with this key and has not expired.
    pub(crate) fn verify(&self, token: &str, now: SystemTime) -> Option<UserInfo> {
        if token.len() > MAX_TOKEN_LEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        // The algorithm is never read from the token: only this one is known.
        let claims = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
        self.mac(signed.as_bytes()).verify_slice(&BASE64.decode(signature).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        (claims.exp > seconds(now)).then_some(claims.user_info)
    }

    /// Whether two secrets are equal, in a time that does not tell where they differ.
    pub(crate) fn is_same_secret(&self, one: &str, other: &str) -> bool {
        let expected = self.mac(one.as_bytes()).finalize().into_bytes();
        self.mac(other.as_bytes()).verify_slice(&expected).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserInfo {
        UserInfo { username: "dev".to_owned(), email: Some("dev@x".to_owned()), full_name: None, groups: vec![] }
    }

    #[test]
    fn a_token_names_its_user_until_it_expires() {
        let key = SessionKey::new(b"key");
        let now = SystemTime::now();
        let token = key.sign(&user(), now);
        assert_eq!(key.verify(&token, now), Some(user()));
        assert_eq!(key.verify(&token, now + LIFETIME), None);
    }

    #[test]
    fn forged_tokens_name_nobody() {
        let key = SessionKey::new(b"key");
        let now = SystemTime::now();
        let token = key.sign(&user(), now);
        assert_eq!(SessionKey::new(b"other").verify(&token, now), None);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            // 'A' and 'E' differ in a bit that base64 does not ignore at the end.
            forged[at] = if forged[at] == b'A' { b'E' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            if forged != token {
                assert_eq!(key.verify(&forged, now), None, "changed at {at}");
            }
        }
        let unsigned = format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), BASE64.encode("{}"));
        for text in ["", ".", "..", "a.b.c", unsigned.as_str()] {
            assert_eq!(key.verify(text, now), None);
        }
    }

    #[test]
    fn secrets_are_compared() {
        let key = SessionKey::new(b"key");
        assert!(key.is_same_secret("pw", "pw"));
        assert!(!key.is_same_secret("pw", "pW"));
        assert!(!key.is_same_secret("", "pw"));
    }
}
