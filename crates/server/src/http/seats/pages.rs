//! Pages with very many readers: written and compressed once, and shared by all requests.

use super::views::{Drawing, StatusView};
use crate::http::App;
use crate::http::answers::Room;
use crate::http::problem::Problem;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use engine::seats::{Layout, Marks};
use engine::{EventId, Fault, SectionId};
use flate2::Compression;
use flate2::write::GzEncoder;
use moka::future::Cache;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use store::Epoch;
use tokio::sync::Semaphore;

/// How much memory drawings may take.
const DRAWINGS_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// How much memory states of seats may take.
const STATES_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// For how long written states are shared: no longer than their `server_time` may be off.
const STATES_FRESH: Duration = Duration::from_secs(1);
/// How many large pages are written at once.
const WRITING_MAX: usize = 2;
/// Pages of more seats than this are written off the threads that answer.
const SMALL_SEATS_MAX: u32 = 2_000;
/// How often seats and their layout are read until both are of one version.
const ATTEMPTS_MAX: usize = 4;

/// Bytes as they are, and compressed.
#[derive(Clone)]
pub struct SeatPage {
    pub bytes: Bytes,
    gzip: Bytes,
}

impl SeatPage {
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
        let written = gzip.write_all(&bytes).and_then(|()| gzip.finish());
        let gzip = written.expect("memory takes every byte");
        Self { bytes: bytes.into(), gzip: gzip.into() }
    }

    fn weight(&self) -> u32 {
        u32::try_from(self.bytes.len() + self.gzip.len()).unwrap_or(u32::MAX)
    }

    /// The page as this client takes it.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        if !takes_gzip(headers) {
            return self.bytes.clone().into_response();
        }
        let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        (encoding, self.gzip.clone()).into_response()
    }
}

impl SeatPage {
    /// [`Self::answer`] of a page that is nobody else's.
    pub fn answer_in(self, room: Room, headers: &HeaderMap) -> Response {
        if !takes_gzip(headers) {
            return room.keep(self.bytes).into_response();
        }
        let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        (encoding, room.keep(self.gzip)).into_response()
    }
}

/// Whether the client takes gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    quality(headers, &header::ACCEPT_ENCODING, "gzip") > 0.0
}

/// How much the client wants `named`, by what it says it takes; 0 when it does not name it.
pub fn quality(headers: &HeaderMap, header: &HeaderName, named: &str) -> f32 {
    let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    let wanted = values.flat_map(|value| value.split(',')).filter_map(|part| {
        let mut parts = part.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(named));
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        is_named.then(|| quality.unwrap_or(1.0))
    });
    wanted.fold(0.0, f32::max)
}

/// What a drawing is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Json,
    Csv,
}

/// A drawing of the layout with this version.
#[derive(Clone)]
pub struct Drawn {
    pub layout_version: i64,
    pub page: SeatPage,
}

/// The pages that are kept.
pub struct Pages {
    drawings: Cache<(SectionId, i64, Form), Arc<Drawn>>,
    states: Cache<(SectionId, Epoch, i64, i64), SeatPage>,
    writing: Arc<Semaphore>,
}

impl Default for Pages {
    fn default() -> Self {
        let drawings = Cache::builder()
            .max_capacity(DRAWINGS_BYTES_MAX)
            .weigher(|_, drawn: &Arc<Drawn>| drawn.page.weight());
        let states = Cache::builder()
            .max_capacity(STATES_BYTES_MAX)
            .weigher(|_, page: &SeatPage| page.weight())
            .time_to_live(STATES_FRESH);
        let writing = Arc::new(Semaphore::new(WRITING_MAX));
        Self { drawings: drawings.build(), states: states.build(), writing }
    }
}

impl Pages {
    /// The drawing of a section whose layout has this version, as its event's facts say; `None` when it
    /// has none. Where the facts are behind the store, the drawing is the store's.
    pub async fn drawing(
        &self,
        app: &App,
        section_id: SectionId,
        layout_version: i64,
        form: Form,
    ) -> Result<Option<Arc<Drawn>>, Problem> {
        let key = (section_id, layout_version, form);
        if let Some(known) = self.drawings.get(&key).await {
            return Ok(Some(known));
        }
        // Sections keep their layout once they have one, so `None` is rare and not worth keeping.
        let Some((layout_version, layout)) = app.core.store.layout(section_id).await? else {
            return Ok(None);
        };
        let write = async {
            let page = self
                .write(layout.seats(), move || match form {
                    Form::Json => Drawing::new(section_id, layout_version, &layout).to_json(),
                    Form::Csv => layout.draft().to_csv().into_bytes(),
                })
                .await?;
            Ok::<_, Fault>(Arc::new(Drawn { layout_version, page }))
        };
        let drawn = self.drawings.try_get_with((section_id, layout_version, form), write).await;
        Ok(Some(drawn.map_err(Arc::unwrap_or_clone)?))
    }

    /// The seats of a section that are not free, for everybody, with the newest marks and their layout;
    /// `None` when its seats have no numbers.
    pub async fn states(
        &self,
        app: &App,
        event_id: EventId,
        section_id: SectionId,
    ) -> Result<Option<(Arc<Marks>, SeatPage)>, Problem> {
        for attempt in 0..ATTEMPTS_MAX {
            // Of a layout that was just exchanged elsewhere only the store knows for sure.
            let marks = match attempt {
                0 => app.core.catalog.marks(section_id).await?,
                _ => app.core.store.marks(section_id).await?.map(Arc::new),
            };
            let Some(marks) = marks else { return Ok(None) };
            let key = (section_id, app.core.store.epoch(), marks.layout_version, marks.version());
            if let Some(known) = self.states.get(&key).await {
                return Ok(Some((marks, known)));
            }
            let Some((layout_version, layout)) = app.core.store.layout(section_id).await? else {
                return Ok(None);
            };
            if layout_version != marks.layout_version || layout.seats() != marks.seats() {
                continue;
            }
            let now = app.core.store.now();
            let write = async {
                let (layout, marks): (Arc<Layout>, _) = (layout, marks.clone());
                self.write(marks.taken(), move || {
                    StatusView::new(event_id, section_id, now, &layout, &marks).to_json()
                })
                .await
            };
            let page = self.states.try_get_with(key, write).await.map_err(Arc::unwrap_or_clone)?;
            return Ok(Some((marks, page)));
        }
        Err(Problem::overloaded("The seats are being changed; send the request again."))
    }

    /// Writes a page about this number of seats.
    pub async fn write(
        &self,
        seats: u32,
        write: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> Result<SeatPage, Fault> {
        if seats <= SMALL_SEATS_MAX {
            return Ok(SeatPage::new(write()));
        }
        let turn = self.writing.clone().acquire_owned().await;
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            SeatPage::new(write())
        });
        written.await.map_err(|panic| Fault::Corrupt { what: panic.to_string() })
    }
}
