//! The REST interface as an operator's programs use it: `ctl`, the demonstration, the load generator.
//!
//! Owns: finding a server by its data folder, the operator key, one request at a time. Deliberately does not: print anything or
//! parse arguments.
#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context as _, bail};
use reqwest::{Certificate, Method};
use serde_json::{Value, json};

/// The operator's key, in the data folder; whoever can read it may do everything.
pub const OPERATOR_KEY_FILE: &str = "operator.key";
/// Where the running server can be reached, in the data folder.
pub const ADDRESS_FILE: &str = "server.json";

#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
    act_as: Option<String>,
}

/// The key in this data folder.
pub fn operator_key(data: &Path) -> anyhow::Result<String> {
    let file = data.join(OPERATOR_KEY_FILE);
    let key = std::fs::read_to_string(&file).with_context(|| {
        format!("no operator key in {}; is this the --data folder of a server?", file.display())
    })?;
    Ok(key.trim().to_owned())
}

/// The `http://host:port` of the server that runs with this data folder.
pub fn running_server(data: &Path) -> anyhow::Result<String> {
    let file = data.join(ADDRESS_FILE);
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("no {}: start the server with `guildhall up --data {}`", file.display(), data.display())
    })?;
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
    let http = value["http"].as_str().with_context(|| format!("{} names no address", file.display()))?;
    Ok(http.to_owned())
}

impl Api {
    pub fn new(server: &str, token: &str) -> Self {
        let base = format!("{}/api/v10", server.trim_end_matches('/'));
        Self { client: reqwest::Client::new(), base, token: token.to_owned(), act_as: None }
    }

    /// The same, where the server shows a certificate of its own authority: a PEM file, of which there may be none.
    pub fn trusting(self, ca: &Path) -> anyhow::Result<Self> {
        if !self.base.starts_with("https:") || !ca.exists() {
            return Ok(self);
        }
        let pem = std::fs::read(ca).with_context(|| format!("{}", ca.display()))?;
        let certificates = Certificate::from_pem_bundle(&pem).with_context(|| format!("{}", ca.display()))?;
        let client = reqwest::Client::builder().tls_certs_merge(certificates).build();
        Ok(Self { client: client.context("TLS")?, ..self })
    }

    /// The same operator, in the name of an account.
    pub fn acting_as(&self, user: &str) -> Self {
        Self { act_as: Some(user.to_owned()), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, None).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request.header("authorization", format!("Bearer {}", self.token));
        if let Some(user) = &self.act_as {
            request = request.header("x-guildhall-act-as", user);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.with_context(|| format!("no answer from {}", self.base))?;
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        let value: Value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        if status.is_success() {
            return Ok(value);
        }
        match value["message"].as_str() {
            Some(message) => match value.get("errors") {
                Some(errors) => bail!("{message}: {errors}"),
                None => bail!("{message}"),
            },
            None => bail!("the server answered {status}: {value}"),
        }
    }

    /// Makes an account, with a first token in the same object. Without a password nobody can log in by name.
    pub async fn create_user(&self, name: &str, password: Option<&str>) -> anyhow::Result<Value> {
        let body = json!({"username": name, "password": password.unwrap_or_default()});
        let made = self.post("/admin/users", body).await?;
        Ok(json!({"id": text(&made, "user_id")?, "name": name, "token": text(&made, "token")?}))
    }

    /// Makes an account a member, without an invite.
    pub async fn add_member(&self, guild: &str, user: &str) -> anyhow::Result<Value> {
        self.put(&format!("/admin/guilds/{guild}/members/{user}")).await
    }
}

/// A text field of an answer.
pub fn text(value: &Value, key: &str) -> anyhow::Result<String> {
    value[key].as_str().map(str::to_owned).with_context(|| format!("the server's answer has no `{key}`"))
}
