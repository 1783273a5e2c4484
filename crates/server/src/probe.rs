//! The health check of a container: asks the process of the same configuration whether it is ready.

use crate::Failure;
use reqwest::redirect::Policy;
use std::time::Duration;

/// How long the answer may take: less than orchestrators wait.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Succeeds when `/health/ready` of the server at `url` answers 200.
pub async fn run(url: &str) -> Result<(), Failure> {
    // No proxy and no redirect: only the process itself can answer.
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().redirect(Policy::none());
    let client = client.build().map_err(|error| Failure::new("making a client", error))?;
    let url = format!("{}/health/ready", url.trim_end_matches('/'));
    let asked = client.get(&url).send().await;
    let answer = asked.map_err(|error| Failure::new(format!("requesting {url}"), error))?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(Failure::plain(format!("{url} answered {status}"))),
    }
}
