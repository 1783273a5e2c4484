//! HTTP: the path of a request, and what it can access.
//!
//! ```text
//! connection ─▶ Service ─┬─▶ layers ─▶ router ─▶ layers of the group ─▶ handler ─▶ core
//!                        └─▶ the same without the router: shortcut (hold, confirm, event)
//! ```
//! Handlers extract, translate and answer; they hold no rule and see no SQL. What HTTP alone needs
//! is in [`App`]; everything else is the [`Core`](crate::core::Core)'s, which knows nothing of
//! HTTP.

mod answers;
mod app;
mod auth;
mod body;
mod booking_token;
mod bookings;
mod common_passwords;
pub mod connection;
mod content;
mod cors;
mod docs;
mod events;
mod extract;
mod health;
mod in_flight;
mod keys;
mod layers;
pub mod limits;
mod lists;
mod object;
mod observe;
mod organizations;
mod pages;
pub mod problem;
mod query;
mod router;
mod seats;
mod series;
mod shortcut;
mod target;
mod threads;
pub mod token;
mod users;
mod visitors;
mod wire;

use crate::core::Core;
use axum::Router;
use connection::Peer;
use content::{Answer, Content};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use layers::Layers;
use shortcut::Call;
use std::pin::Pin;
use std::sync::Arc;
use tower::ServiceExt as _;

pub use app::App;
pub use router::{Routes, openapi};

/// The media type of problems.
const PROBLEM: &str = "application/problem+json";

/// What answers requests.
#[derive(Clone)]
pub struct Service {
    layers: Arc<Layers>,
    router: Router,
    /// What calls that take the shortcut are answered with; `None`: all go through the router.
    shortcut: Option<Arc<App>>,
}

impl Service {
    /// The whole API, with its pages.
    pub fn api(app: Arc<App>, routes: Routes) -> Self {
        let core = &app.core;
        let Routes { router, counted, known } = routes;
        core.metrics.expect_faults(counted.iter().map(|(method, path)| (*method, path.as_str())));
        let layers = Layers::new(core.clone(), known);
        let router = layers.on(router).with_state(app.clone());
        Self { layers, router, shortcut: Some(app) }
    }

    /// The probes and meters alone: what a process that serves no API answers.
    pub fn probes(core: Arc<Core>) -> Self {
        let (router, known) = router::probes();
        let layers = Layers::new(core.clone(), known);
        let router = layers.on(router).with_state(health::Probed(core));
        Self { layers, router, shortcut: None }
    }

    /// Answers a request.
    fn answer(&self, mut request: hyper::Request<Incoming>, peer: Peer) -> Answering<'_> {
        target::normalize(request.uri_mut());
        if let Some(app) = &self.shortcut
            && let Some(call) = Call::of(&request)
        {
            return call.answer(&self.layers, app, request, peer);
        }
        request.extensions_mut().insert(peer);
        let routed = self.router.clone().oneshot(request);
        Box::pin(routed.map(|Ok(answer)| answer.map(Content::from)))
    }
}

/// An answer that is under way.
type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

#[cfg(test)]
mod tests;
