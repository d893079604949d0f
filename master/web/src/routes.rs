//! All routes, in one list.

use actix_web::{Route, guard, middleware::Compress, web};

use crate::{api, auth, live, metrics, pages, worker};

/// Registers every route.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        // The API. Methods are told apart in the handler, because their errors have the API's form.
        .service(
            web::scope("/api")
                .wrap(Compress::default())
                .route("", web::route().to(api::versions))
                .route("/openapi.json", get_or_head().to(api::openapi))
                .route("/{version}", web::route().to(api::handle))
                .route("/{version}/{tail:.*}", web::route().to(api::handle)),
        )
        // Live events.
        .route("/ws", web::get().to(live::websocket))
        .route("/sse/{command:add|remove}", web::get().to(live::change_filters))
        .route("/sse/{command:add|remove}/{rest:.*}", web::get().to(live::change_filters))
        .route("/sse", web::get().to(live::listen))
        .route("/sse/{path:.*}", web::get().to(live::listen))
        // Workers.
        .route("/worker", web::get().to(worker::connect))
        // The stock worker knows host and port only, and asks for the root.
        .route("/", web::get().guard(guard::fn_guard(worker::is_upgrade)).to(worker::connect))
        // Users.
        .route("/auth/login", web::get().to(auth::login))
        .route("/auth/logout", web::get().to(auth::logout))
        // Operation.
        .route("/health/live", get_or_head().to(pages::health_live))
        .route("/health/ready", get_or_head().to(pages::health_ready))
        .route("/metrics", get_or_head().to(metrics::show))
        // The page.
        .route("/avatar", get_or_head().to(pages::avatar))
        .route("/config", get_or_head().to(pages::config))
        .route("/robots.txt", get_or_head().to(pages::robots))
        .service(
            web::scope("")
                .wrap(Compress::default())
                .route("/", get_or_head().to(pages::index))
                .default_service(web::route().to(pages::asset)),
        );
}

/// HEAD is answered as GET is; the server leaves the body out.
fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
