//! How a connection to Redis comes about: one server, the master that sentinels name, or a cluster.

use super::url::{Kind, Target};
use super::{CALL_MAX, CONNECT_MAX};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult, TlsMode,
};

/// A connection that many callers share. Clones are the same connection.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// Prepares the process for TLS. If a provider is already installed, it is kept.
pub(super) fn prepare_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Runs `attempt`, for [`CONNECT_MAX`] at most.
pub(super) async fn in_time<T>(attempt: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match tokio::time::timeout(CONNECT_MAX, attempt).await {
        Ok(done) => done,
        Err(_) => Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))),
    }
}

impl Target {
    /// A new connection. Sentinels are asked each time: after a failover neither a connection nor
    /// its client finds the new master by itself.
    pub async fn connect(&self) -> RedisResult<Connection> {
        in_time(async {
            if self.kind == Kind::Cluster {
                return Ok(Connection::Cluster(self.cluster().await?));
            }
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_MAX))
                .set_response_timeout(Some(CALL_MAX));
            let client = self.client(0).await?;
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            Ok(Connection::One(connection))
        })
        .await
    }

    /// A client of one server: of a cluster the `turn`th node in turn, which hears what any
    /// other is told to publish.
    pub async fn client(&self, turn: usize) -> RedisResult<Client> {
        match &self.kind {
            Kind::Single => Client::open(self.info(0)?),
            Kind::Cluster => Client::open(self.info(turn % self.hosts.len())?),
            Kind::Sentinel { master } => {
                // Sentinels often have no password where their servers do.
                let found = self.ask_sentinels(master, false).await;
                match found {
                    Err(_) if self.password.is_some() => self.ask_sentinels(master, true).await,
                    found => found,
                }
            }
        }
    }

    async fn ask_sentinels(&self, master: &str, with_password: bool) -> RedisResult<Client> {
        let hosts = (0..self.hosts.len()).map(|index| self.address(index));
        let mut builder = SentinelClientBuilder::new(hosts, master, SentinelServerType::Master)?
            .set_client_to_redis_db(self.database);
        if self.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(user) = &self.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if with_password {
            if let Some(user) = &self.user {
                builder = builder.set_client_to_sentinel_username(user);
            }
            if let Some(password) = &self.password {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        builder.build()?.async_get_client().await
    }

    async fn cluster(&self) -> RedisResult<ClusterConnection> {
        let nodes = (0..self.hosts.len()).map(|index| self.info(index));
        let nodes = nodes.collect::<RedisResult<Vec<ConnectionInfo>>>()?;
        ClusterClientBuilder::new(nodes)
            .connection_timeout(CONNECT_MAX / 2)
            .response_timeout(CALL_MAX)
            // Calls that a moved shard turns away are sent again, all within one CALL_MAX.
            .retries(2)
            .min_retry_wait(10)
            .max_retry_wait(50)
            .build()?
            .get_async_connection()
            .await
    }

    fn address(&self, index: usize) -> ConnectionAddr {
        let (host, port) = self.hosts[index].clone();
        if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }

    fn info(&self, index: usize) -> RedisResult<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        Ok(self.address(index).into_connection_info()?.set_redis_settings(settings))
    }
}
