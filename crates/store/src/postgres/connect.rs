//! How a session begins: with its settings in force, also through a pooler.
//!
//! The settings are sent with the start of the session (`options`). A pooler may refuse that, or lose it in
//! silence; so every new session is asked what is in force, in one round trip, and what is not is set by
//! statement. A pooler by session then keeps it for as long as we are connected.

use engine::Fault;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Error, Row as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A setting of a session, and its value as the server shows it.
pub(super) type Setting = (&'static str, &'static str);

/// The way to sessions with the same settings.
pub(super) struct Door {
    /// Asks for the settings at the start of the session.
    asking: PgConnectOptions,
    /// Asks for nothing.
    bare: PgConnectOptions,
    /// A pooler in between does not accept `options`.
    is_refused: AtomicBool,
    settings: Vec<Setting>,
    /// The statement that reads the settings back.
    read_back: String,
    /// The database and its address, without secrets.
    place: String,
}

impl Door {
    pub(super) fn new(bare: &PgConnectOptions, settings: &[&[Setting]]) -> Self {
        // A socket of the file system has no such time-out, and says 0 whatever is set.
        let is_local = bare.get_socket().is_some();
        let settings = settings.concat().into_iter();
        let settings: Vec<_> =
            settings.filter(|(name, _)| !(is_local && *name == "tcp_user_timeout")).collect();
        let shown = settings.iter().map(|(name, _)| format!("current_setting('{name}')"));
        let read_back = format!("SELECT {}", shown.collect::<Vec<_>>().join(", "));
        let asking = bare.clone().options(settings.iter().copied());
        let is_refused = AtomicBool::new(false);
        Self { asking, bare: bare.clone(), is_refused, settings, read_back, place: place(bare) }
    }

    /// A new session, with all its settings in force.
    pub(super) async fn open(&self) -> Result<PgConnection, Error> {
        let mut session = self.connect().await?;
        let missing = self.missing(&mut session).await?;
        self.set(&mut session, &missing).await?;
        Ok(session)
    }

    /// A new session whose settings may not be in force.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        if !self.is_refused.load(Ordering::Relaxed) {
            match PgConnection::connect_with(&self.asking).await {
                Err(error) if refuses_options(&error) => {
                    self.is_refused.store(true, Ordering::Relaxed);
                }
                connected => return connected,
            }
        }
        PgConnection::connect_with(&self.bare).await
    }

    /// The settings that are not in force.
    pub(super) async fn missing(&self, session: &mut PgConnection) -> Result<Vec<Setting>, Error> {
        let row = sqlx::raw_sql(AssertSqlSafe(self.read_back.clone())).fetch_one(session).await?;
        let mut missing = Vec::new();
        for (at, setting) in self.settings.iter().enumerate() {
            if row.try_get::<&str, _>(at)? != setting.1 {
                missing.push(*setting);
            }
        }
        Ok(missing)
    }

    /// Puts settings in force for as long as the session lasts.
    pub(super) async fn set(
        &self,
        session: &mut PgConnection,
        missing: &[Setting],
    ) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let set = missing.iter().map(|(name, to)| format!("set_config('{name}', '{to}', false)"));
        let set = format!("SELECT {}", set.collect::<Vec<_>>().join(", "));
        sqlx::raw_sql(AssertSqlSafe(set)).fetch_one(session).await.map(drop)
    }

    /// For a library that wants a pool: one session, with all its settings in force.
    pub(super) fn pool_of_one(self: &Arc<Self>) -> PgPool {
        let is_refused = self.is_refused.load(Ordering::Relaxed);
        let options = if is_refused { &self.bare } else { &self.asking };
        let door = self.clone();
        let pool = PgPoolOptions::new().max_connections(1).after_connect(move |session, _| {
            let door = door.clone();
            Box::pin(async move {
                let missing = door.missing(session).await?;
                door.set(session, &missing).await
            })
        });
        pool.connect_lazy_with(options.clone())
    }

    /// What leads there without settings.
    pub(super) fn bare(&self) -> &PgConnectOptions {
        &self.bare
    }

    /// Where it leads, without secrets.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Turns a failure to connect into a fault that says where it was tried.
    pub(super) fn away<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &self,
        doing: &'static str,
    ) -> impl FnOnce(E) -> Fault {
        move |error| crate::unavailable(doing)(format!("{}: {}", self.place, error.into()))
    }
}

/// The database and its address, without secrets.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("postgres");
    match options.get_socket() {
        Some(socket) => format!("{database} at {}", socket.display()),
        None => format!("{database} at {}:{}", options.get_host(), options.get_port()),
    }
}

/// Whether PgBouncer, or one like it, refuses to begin a session with `options`.
fn refuses_options(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    error.message().contains("startup parameter") && error.message().contains("options")
}
