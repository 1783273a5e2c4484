//! The demo: creates a user and an event with three sections over HTTP, and prints commands to
//! paste. For load tests: [`buyers`] with tokens, and a store full of [`bookings`].

#[cfg(feature = "fill")]
mod bookings;
#[cfg(not(feature = "fill"))]
#[path = "demo/left_out.rs"]
mod bookings;
mod buyers;

use crate::random::random;
use crate::{Failure, cli, print};
use serde_json::{Value, json};
use std::time::Duration;

/// What the demo is to make.
#[derive(clap::Args)]
pub struct Demo {
    /// The URL of the server
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    #[command(flatten)]
    buyers: buyers::Buyers,
    #[command(flatten)]
    bookings: bookings::Bookings,
}

/// Makes what is asked for.
pub async fn run(demo: &Demo) -> Result<(), Failure> {
    if let Some(count) = demo.buyers.count {
        return buyers::run(&cli::settings()?, count, &demo.buyers);
    }
    if let Some(count) = demo.bookings.count {
        return bookings::run(&cli::settings()?, count, &demo.bookings).await;
    }
    tour(&demo.url).await
}

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        let doing = format!(
            "calling {url} (is `reservix serve` running there? --url names another server)"
        );
        let failed = |error| Failure::new(doing.clone(), error);
        let mut request = self.http.post(&url).json(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(failed)?;
        if status.is_success() {
            return Ok(answer);
        }
        let detail = answer["detail"].as_str().unwrap_or_default();
        Err(Failure::plain(format!("{path} answered {status}: {detail}")))
    }
}

/// Makes a user and an event on the server at `url`.
async fn tour(url: &str) -> Result<(), Failure> {
    let http = reqwest::Client::builder().timeout(CALL_TIMEOUT).build();
    let http = http.map_err(|error| Failure::new("making a client", error))?;
    let url = url.trim_end_matches('/').to_owned();
    let mut client = Client { http, url, token: None };
    let nonce = u32::from_le_bytes(random());
    let email = format!("demo-{nonce:08x}@example.com");
    let password = format!("demo-password-{nonce:08x}");
    client
        .post(
            "/api/v1/auth/register",
            &json!({"email": email, "password": password, "name": "Demo"}),
        )
        .await?;
    let login =
        client.post("/api/v1/auth/login", &json!({"email": email, "password": password})).await?;
    let token = login["access_token"].as_str().unwrap_or_default().to_owned();
    client.token = Some(token.clone());
    let event = client
        .post(
            "/api/v1/events",
            &json!({
                "title": "Midsummer Night",
                "venue": "Open Air Stage",
                "event_date": "2099-06-21",
                "sections": [
                    {"name": "Floor", "capacity": 500, "price": 4_500},
                    {"name": "Balcony", "capacity": 120, "price": 7_500},
                    {"name": "Box", "capacity": 12, "price": 15_000},
                ],
            }),
        )
        .await?;
    let event_id = event["event_id"].as_str().unwrap_or_default();
    let url = &client.url;
    print::line(format_args!(
        r#"# Created a user and an event with three sections. Paste line by line:
API={url}/api/v1
TOKEN={token}
EVENT={event_id}
curl -s $API/events/$EVENT
curl -s $API/bookings/hold -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
  -H "Idempotency-Key: first" \
  -d '{{"event_id":"'$EVENT'","section_id":"Floor","seats_requested":2}}' | tee hold.json
BOOKING=$(sed 's/.*"booking_id":"\([^"]*\)".*/\1/' hold.json)
curl -s $API/bookings/$BOOKING/confirm -X POST -H "Authorization: Bearer $TOKEN"
curl -s $API/events/$EVENT/availability -H "Authorization: Bearer $TOKEN"
# Log in again as {email} with {password}; everything else is on {url}/docs"#
    ))
}
