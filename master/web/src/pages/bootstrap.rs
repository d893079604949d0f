//! What the user interface has to know before its first request: `/config`, and the same in the page.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde_json::{Value, json};

use crate::{
    auth::{User, user_of},
    conditional,
    state::AppState,
};

/// Never shown from a cache without asking.
pub(super) const REVALIDATE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "public,max-age=0");

/// `GET /config`.
pub(crate) async fn config(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let body = config_of(&state, &user_of(&request, &state)).to_string();
    let response = HttpResponse::Ok().insert_header(REVALIDATE).content_type("application/json").body(body);
    conditional::answer(&request, response)
}

/// The configuration as clients of `user` see it. Built field by field, so that no secret gets into it by accident.
pub(super) fn config_of(state: &AppState, user: &User) -> Value {
    let farm = state.farm();
    let version = env!("CARGO_PKG_VERSION");
    let auth = if farm.www.user_passwords.is_some() { "UserPasswordAuth" } else { "NoAuth" };
    // Clients written for Buildbot look for its name among the versions; they get the version of the API.
    let mut config = json!({
        "title": farm.title,
        "titleURL": farm.title_url,
        "buildbotURL": farm.buildbot_url,
        "multiMaster": farm.multi_master,
        "versions": [["Buildguild", version], ["Buildbot", "4.3.0"]],
        "auth": { "name": auth },
        "authz": {},
        "avatar_methods": [],
        "allowed_origins": farm.www.allowed_origins,
        "plugins": farm.www.plugins,
        "ui_default_config": farm.www.ui_default_config,
        "user": user.to_json(),
    });
    if let Some(port) = &farm.www.port {
        config["port"] = port.clone();
    }
    config
}

/// The script that the page starts with, without its tag.
pub(super) fn script(config: &Value) -> String {
    // "</script>" or "<!--" in a title must not end or change the script.
    let json = config.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    format!("\n    window.buildbotFrontendConfig = {json};\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_break_out_of_the_script() {
        let script = script(&json!({ "title": "</script><script>alert(1)</script>" }));
        assert_eq!(script.matches("</script>").count(), 0);
    }
}
