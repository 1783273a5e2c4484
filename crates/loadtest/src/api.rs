//! Calls that are made before and after the load: one at a time, whole JSON, and patient.

use crate::target::{API, Target};
use crate::trouble::Trouble;
use crate::wire::{Body, Silence, Wire};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// No call waits longer than this for an answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A call that is answered with 429 or 503 is repeated this long.
const INSIST: Duration = Duration::from_mins(15);

/// A call that had no answer is repeated after this.
const CALL_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// A connection for such calls.
pub struct Api {
    target: Arc<Target>,
    wire: Wire,
}

/// A status and a body.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body, null when it is no JSON.
    pub json: Value,
}

impl Reply {
    /// The body, if the status is the wanted one.
    pub fn want(self, status: u16, doing: &str) -> Result<Value, Trouble> {
        if self.status == status {
            return Ok(self.json);
        }
        let Self { status, json } = self;
        let said = json.get("detail").and_then(Value::as_str).unwrap_or("without a reason");
        let code = json.get("code").and_then(Value::as_str).unwrap_or("");
        Err(Trouble::new(format!("{doing}: {status} {code}: {said}")))
    }
}

impl Api {
    /// Not yet connected.
    pub fn new(target: &Arc<Target>) -> Self {
        Self { target: Arc::clone(target), wire: Wire::new(Arc::clone(target), PATIENCE) }
    }

    /// The body of the latest answer, as it came.
    pub fn body(&self) -> &[u8] {
        &self.wire.body
    }

    /// A `GET` below the API.
    pub async fn get(
        &mut self,
        path: &str,
        bearer: Option<&HeaderValue>,
    ) -> Result<Reply, Trouble> {
        self.call(Method::GET, &format!("{API}{path}"), bearer, None).await
    }

    /// A `POST` below the API.
    pub async fn post(
        &mut self,
        path: &str,
        bearer: Option<&HeaderValue>,
        body: Option<&Value>,
    ) -> Result<Reply, Trouble> {
        self.call(Method::POST, &format!("{API}{path}"), bearer, body).await
    }

    /// A call. It is repeated after a 429 or 503, and when a connection broke: use it
    /// for what may be done twice.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        bearer: Option<&HeaderValue>,
        body: Option<&Value>,
    ) -> Result<Reply, Trouble> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let started = Instant::now();
        let mut broken = 0;
        loop {
            let mut request = Request::builder()
                .method(method.clone())
                .uri(self.target.uri(path)?)
                .header(HOST, self.target.host.clone())
                .header(ACCEPT, "application/json");
            if let Some(bearer) = bearer {
                request = request.header(AUTHORIZATION, bearer.clone());
            }
            if !body.is_empty() {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            let request = request.body(Body::from(body.clone()));
            let request = request.map_err(|error| Trouble::because(path, error))?;
            match self.wire.call(request).await {
                Ok(answer) if matches!(answer.status, 429 | 503) && started.elapsed() < INSIST => {
                    let seconds = answer.retry_after_seconds.unwrap_or(1).clamp(1, 60);
                    sleep(Duration::from_secs(seconds.into())).await;
                }
                Ok(answer) => {
                    let json = serde_json::from_slice(&self.wire.body).unwrap_or(Value::Null);
                    return Ok(Reply { status: answer.status, json });
                }
                Err(Silence::Reset) if broken < 3 => broken += 1,
                // It was there, and may come back: the waiting caller gives up when it does not.
                Err(_) if self.target.pulse.was_there() && !self.target.pulse.is_over() => {
                    sleep(CALL_AGAIN_AFTER).await;
                }
                Err(silence) => {
                    let doing = format!("{method} {}{path}", self.target.base);
                    return Err(Trouble::because(doing, silence.name()));
                }
            }
        }
    }
}
