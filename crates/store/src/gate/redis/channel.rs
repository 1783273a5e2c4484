//! Announcements: one channel that every instance listens to.
//!
//! A message is `<instance> <event>`. An instance has notified its own listeners before it notifies
//! the channel, so it skips what it hears of itself. Messages sent while a subscription is down are
//! lost: so listeners can ask since when there has been one.

use super::connect::in_time;
use super::{HEARTBEAT, Shared};
use crate::random::random_of;
use futures_util::StreamExt;
use redis::{Msg, RedisError, RedisResult};
use std::time::{Duration, Instant};

/// Listens for ever.
pub(super) async fn listen(shared: &Shared) {
    for turn in 0_usize.. {
        shared.link.closed().await;
        let ended = subscription(shared, turn).await;
        *shared.listens_since.lock() = None;
        if let Err(cause) = ended {
            tracing::debug!(cause = cause.to_string(), "listening to announcements again");
        }
        tokio::time::sleep(Duration::from_millis(random_of(200..=400))).await;
    }
}

/// Listens until the connection ends, or the store is in another history, which has a channel of its own.
async fn subscription(shared: &Shared, turn: usize) -> RedisResult<()> {
    let mut space = shared.space.subscribe();
    let channel = space.borrow_and_update().channel();
    let subscribe = async {
        let client = shared.link.target().client(turn).await?;
        let (mut sink, stream) = client.get_async_pubsub().await?.split();
        sink.subscribe(&channel).await?;
        Ok::<_, RedisError>((sink, stream))
    };
    let (mut sink, mut stream) = in_time(subscribe).await?;
    *shared.listens_since.lock() = Some(Instant::now());
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(HEARTBEAT, stream.next()) => next,
            _ = space.changed() => return Ok(()),
        };
        match next {
            Ok(Some(message)) => pass_on(shared, &message),
            Ok(None) => return Ok(()),
            // A peer that has vanished sends no end: it is asked for a sign of life.
            Err(_) => drop(in_time(sink.ping::<redis::Value>()).await?),
        }
    }
}

fn pass_on(shared: &Shared, message: &Msg) {
    let Ok(text) = message.get_payload::<String>() else { return };
    let Some((instance, id)) = text.split_once(' ') else { return };
    if instance == shared.instance {
        return;
    }
    if let Ok(id) = id.parse() {
        // Nobody listens while nothing is cached.
        let _ = shared.announced.send(id);
    }
}
