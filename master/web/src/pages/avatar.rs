//! `/avatar`: a picture for a user, drawn here. Nobody's address is told to another site.

use actix_web::{HttpRequest, HttpResponse, http::header};
use sha2::{Digest, Sha256};

use crate::query::parameters;

/// `GET /avatar?email=...`: a letter on a colour that is the same for the same user.
pub(crate) async fn avatar(request: HttpRequest) -> HttpResponse {
    let value = |wanted: &str| {
        parameters(request.query_string()).find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let who = value("email").or_else(|| value("username")).unwrap_or_default();
    HttpResponse::Ok()
        .content_type("image/svg+xml")
        .insert_header((header::CACHE_CONTROL, "public,max-age=86400"))
        .body(picture(&who))
}

fn picture(who: &str) -> String {
    let hash = Sha256::digest(who.trim().to_lowercase());
    let hue = u32::from(u16::from_be_bytes([hash[0], hash[1]])) % 360;
    // Letters and digits only, so that nothing needs escaping.
    let letter = who.chars().find(|c| c.is_alphanumeric()).map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\" width=\"32\" height=\"32\">\
         <rect width=\"32\" height=\"32\" fill=\"hsl({hue},45%,40%)\"/>\
         <text x=\"16\" y=\"22\" font-family=\"sans-serif\" font-size=\"18\" text-anchor=\"middle\" \
         fill=\"#fff\">{letter}</text></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::picture;

    #[test]
    fn a_picture_depends_on_the_user_only() {
        assert_eq!(picture("Dev@example.org"), picture(" dev@example.org"));
        assert_ne!(picture("dev@example.org"), picture("eve@example.org"));
        assert!(!picture("<script>").contains("<script"));
    }
}
