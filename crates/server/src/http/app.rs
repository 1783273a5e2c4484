//! The state of the API's handlers: the core, and the state that only HTTP needs.

use super::answers::Answers;
use super::booking_token::BookingTokens;
use super::health::Probed;
use super::in_flight::InFlight;
use super::keys::{self, Keys};
use super::limits::{Limits, SYNC_INTERVAL};
use super::seats::Seats;
use super::token::{Passwords, Tokens};
use crate::core::Core;
use crate::cutoffs::{self, Cutoffs};
use crate::work;
use axum::extract::FromRef;
use secrecy::SecretString;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What every handler may use.
pub struct App {
    /// The shared state of the process.
    pub core: Arc<Core>,
    /// Access tokens.
    pub tokens: Tokens,
    /// Booking tokens.
    pub(super) booking_tokens: BookingTokens,
    /// Which access tokens were ended.
    pub cutoffs: Cutoffs,
    /// Keys of organizations.
    pub(super) keys: Keys,
    /// Passwords.
    pub passwords: Passwords,
    /// Rate limits.
    pub limits: Limits,
    /// Keys of requests under way.
    pub(super) in_flight: InFlight,
    /// Room for large answers.
    pub(super) answers: Answers,
    /// Imports of layouts, and what watchers of numbered seats are shown.
    pub(super) seats: Seats,
}

impl App {
    /// Puts the parts together; `secret` signs the tokens.
    pub fn new(core: Arc<Core>, secret: &SecretString) -> Self {
        Self {
            tokens: Tokens::new(secret, core.config.access_token_ttl),
            booking_tokens: BookingTokens::new(secret),
            cutoffs: Cutoffs::new(core.store.clone()),
            keys: Keys::new(core.store.clone(), core.config.environment),
            passwords: Passwords::new(),
            limits: Limits::new(&core.config, secret, core.gate.clone()),
            in_flight: InFlight::default(),
            answers: Answers::default(),
            seats: Seats::default(),
            core,
        }
    }

    /// Starts what a process that serves the API does for itself, until `stop`: it reads which tokens
    /// were ended, shares the rates of its callers with other instances, writes which keys were used,
    /// and forgets callers that are idle.
    pub fn keep_house(self: &Arc<Self>, stop: &CancellationToken) {
        let app = self.clone();
        work::every(&self.core, "cutoffs", cutoffs::POLL_INTERVAL, stop, move || {
            let app = app.clone();
            async move { app.cutoffs.poll().await }
        });
        let app = self.clone();
        work::every(&self.core, "share_limits", SYNC_INTERVAL, stop, move || {
            let app = app.clone();
            async move { app.limits.share(app.core.store.now()).await }
        });
        let app = self.clone();
        work::every(&self.core, "key_use", keys::USE_INTERVAL, stop, move || {
            let app = app.clone();
            async move { app.keys.write_use().await }
        });
        let app = self.clone();
        work::every(&self.core, "tidy", work::TIDY_INTERVAL, stop, move || {
            app.limits.forget_idle(app.core.store.now());
            std::future::ready(())
        });
    }
}

impl FromRef<Arc<App>> for Probed {
    fn from_ref(app: &Arc<App>) -> Self {
        Self(app.core.clone())
    }
}
