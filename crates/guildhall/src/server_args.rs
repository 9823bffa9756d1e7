//! How a command finds its server and proves itself.

use std::path::PathBuf;

use operator::Api;

#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    /// The data folder of a server on this machine: address and operator key are read from it.
    #[arg(long, value_name = "DIR", env = "GUILDHALL_DATA", default_value = "guildhall-data")]
    data: PathBuf,
    /// `http://host:port` of a server elsewhere (with --token).
    #[arg(long, value_name = "URL", env = "GUILDHALL_SERVER", requires = "token")]
    server: Option<String>,
    /// The operator key, or an account's token with the permissions needed.
    #[arg(long, value_name = "T", env = "GUILDHALL_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Server {
    pub fn api(&self) -> anyhow::Result<Api> {
        Api::new(&self.url()?, &self.token()?).trusting(&self.data.join("ca.pem"))
    }

    pub fn url(&self) -> anyhow::Result<String> {
        self.server.clone().map_or_else(|| operator::running_server(&self.data), Ok)
    }

    pub fn token(&self) -> anyhow::Result<String> {
        self.token.clone().map_or_else(|| operator::operator_key(&self.data), Ok)
    }

    pub fn data(&self) -> &std::path::Path {
        &self.data
    }
}
