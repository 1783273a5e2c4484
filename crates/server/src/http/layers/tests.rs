//! The layers of a group, around handlers of the tests' own.

use super::*;
use axum::body::Bytes;
use axum::http::StatusCode;
use futures_util::stream::unfold;
use http_body_util::BodyExt as _;
use std::future::ready;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A request of a client that accepts these encodings.
fn request(method: Method, accepted: &str) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    let accepted = HeaderValue::from_str(accepted).expect("text");
    request.headers_mut().insert(header::ACCEPT_ENCODING, accepted);
    request
}

/// What a client that accepts these encodings gets of an answer of so many bytes.
async fn read(accepted: &str, bytes: usize) -> Response {
    let answer = |_| ready(Body::from(vec![b'x'; bytes]).into_response());
    LISTS.around(request(Method::GET, accepted), answer).await
}

fn is_compressed(response: &Response) -> bool {
    response.headers().contains_key(header::CONTENT_ENCODING)
}

/// A body that is written piece by piece, by the holder of the sender.
fn stream() -> (mpsc::Sender<&'static str>, Body) {
    let (sender, pieces) = mpsc::channel(1);
    let pieces = unfold(pieces, async |mut pieces: mpsc::Receiver<&'static str>| {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes())), pieces))
    });
    (sender, Body::from_stream(pieces))
}

#[tokio::test]
async fn answers_of_a_known_size_are_compressed_from_1500_bytes_on() {
    assert!(!is_compressed(&read("gzip", 1_499).await));
    let large = read("gzip", 1_500).await;
    assert_eq!(large.headers()[header::CONTENT_ENCODING], "gzip");
    let bytes = large.into_body().collect().await.expect("a body").to_bytes();
    assert!(bytes.len() < 200, "{} bytes", bytes.len());
    assert!(!is_compressed(&read("identity", 1_500).await));
    let answer = |_| ready(Body::from(vec![b'x'; 1_500]).into_response());
    let single = BOOKINGS.around(request(Method::GET, "gzip"), answer).await;
    assert!(!is_compressed(&single), "not in this group");
}

#[tokio::test]
async fn a_stream_is_not_compressed_and_each_piece_arrives_before_the_next_is_written() {
    for through_pages in [false, true] {
        let (sender, body) = stream();
        let request = request(Method::GET, "gzip");
        let response = if through_pages {
            let mut body = Some(body);
            let pages = service_fn(move |_: Request| {
                let body = body.take().expect("it is asked once");
                ready(Ok::<_, Infallible>(Response::new(body)))
            });
            let Ok(response) = compression().layer(pages).oneshot(request).await;
            response.map(Body::new)
        } else {
            LISTS.around(request, |_| ready(body.into_response())).await
        };
        assert!(!is_compressed(&response));
        let mut body = response.into_body();
        for piece in ["one", "two", "three"] {
            sender.send(piece).await.expect("the body is read");
            let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await;
            let frame = frame.expect("it is not held back").expect("a frame").expect("no error");
            assert_eq!(frame.into_data().expect("data"), piece);
        }
        drop(sender);
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_client_that_accepts_no_encoding_gets_the_answer_as_it_is() {
    for bytes in [10, 2_000] {
        let response = read("identity;q=0", bytes).await;
        assert_eq!((response.status(), is_compressed(&response)), (StatusCode::OK, false));
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body.len(), bytes);
    }
}

/// Begins a call, hangs up while it waits, and returns whether it went on.
async fn goes_on(group: Group, method: Method) -> bool {
    let (go_on, waits) = oneshot::channel::<()>();
    let (done, is_done) = oneshot::channel();
    let answer = |_| async move {
        let _ = waits.await;
        let _ = done.send(());
        StatusCode::NO_CONTENT.into_response()
    };
    assert!(group.around(request(method, "gzip"), answer).now_or_never().is_none());
    // Without a task of its own, the call is gone with the one who waited for it.
    go_on.send(()).is_ok() && is_done.await.is_ok()
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_a_read_and_no_write() {
    for group in [RECORDS, SEATS] {
        assert!(goes_on(group, Method::PATCH).await);
        assert!(goes_on(group, Method::POST).await);
        assert!(!goes_on(group, Method::GET).await);
    }
}

#[tokio::test]
async fn a_write_that_panics_is_a_fault_of_ours() {
    let answer = |_| async { panic!("planted") };
    let response = RECORDS.around(request(Method::POST, "gzip"), answer).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(response.extensions().get::<Problem>().is_some());
}
