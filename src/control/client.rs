//! The way to the API server.

use std::time::Duration;

use kube::{Client, Config};

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// The client of an operator.
///
/// # Errors
/// When the configuration cannot be used.
pub fn connect(config: Config) -> kube::Result<Client> {
    Client::try_from(configured(config))
}

/// `kube` repeats a call that is answered with 429, 503 or 504 up to 15 times, for minutes, and a
/// leader would believe all the while that it leads. Each caller here has a limit and a way of its
/// own to try again.
fn configured(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use k8s_openapi::api::coordination::v1::Lease;
    use kube::Api;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    /// A server that is overloaded for ever, and how often it was asked.
    async fn overloaded() -> (Config, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 4096];
                let _read = stream.read(&mut request).await;
                let answer = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _written = stream.write_all(answer).await;
            }
        });
        (Config::new(url.parse().unwrap()), asked)
    }

    /// Trap G.
    #[tokio::test]
    async fn a_call_is_made_once() {
        let (config, asked) = overloaded().await;
        let leases: Api<Lease> = Api::default_namespaced(connect(config.clone()).unwrap());
        let answer = timeout(Duration::from_secs(5), leases.get("a")).await.unwrap();
        assert!(answer.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        // kube's own client is at it still.
        let leases: Api<Lease> = Api::default_namespaced(Client::try_from(config).unwrap());
        assert!(timeout(Duration::from_secs(1), leases.get("a")).await.is_err());
        assert!(asked.load(Ordering::Relaxed) > 3);
    }
}
