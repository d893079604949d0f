//! What a web thread does with a connection: HTTP, and then what a handler leaves on the socket, see
//! [`handover`](crate::handover).
//!
//! This is what `actix_web::HttpServer` does, on sockets that can be handed over.

use std::{net::SocketAddr, time::Duration};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_service::{apply_fn_factory, map_config};
use actix_web::{
    App,
    dev::{AppConfig, Service, ServiceFactory},
    middleware::from_fn,
    web,
};
use tokio::net::TcpStream;

use crate::{
    api,
    handover::Socket,
    limits::{self, Connection, Holders},
    metrics, routes,
    state::AppState,
};

/// How long a client may take to close its side after an answer to a request whose body was not read.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the connections of a listener on one web thread.
pub(crate) fn service(
    state: web::Data<AppState>,
    connections: Holders,
    local_address: SocketAddr,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let app = App::new()
        .app_data(state.clone())
        .app_data(web::Data::new(api::Reads::default()))
        .wrap(from_fn(limits::enforce))
        // The last one is the outermost.
        .wrap(from_fn(metrics::measure))
        .configure(routes::configure);
    let shutdown = state.shutdown.clone();
    let http = HttpService::build()
        .client_request_timeout(state.options.request_timeout)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .local_addr(local_address)
        // A client that has closed its side has left: what it asked for is not read for nobody.
        .h1_allow_half_closed(false)
        // Connections that wait for another request are closed when the server stops.
        .graceful_shutdown_signal(move || shutdown.clone().cancelled_owned())
        .on_connect_ext(|socket: &Socket, extensions| {
            extensions.insert(socket.clone());
        })
        .finish(map_config(app, |()| AppConfig::default()));
    let limit = state.options.max_connections_per_address;
    apply_fn_factory(http, move |io: TcpStream, http| {
        let peer = io.peer_addr().ok();
        let socket = Socket::new(io, peer.map(|peer| Connection::begin(&connections, limit, peer.ip())));
        // In a box of its own, which goes when HTTP is over.
        let serving = Box::pin(http.call((socket.clone(), Protocol::Http1, peer)));
        async move {
            let ended = serving.await;
            // An event stream goes on; the handover is an error to HTTP.
            socket.serve_heir().await;
            ended
        }
    })
}
