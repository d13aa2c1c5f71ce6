//! Reads the database's URL and checks its parameters.

use reqwest::Url;

use taskqueue_worker::{Environment, SettingError};

use crate::store::Backend;

/// The parameters in a PostgreSQL URL that the driver reads, besides `options[…]`.
const POSTGRES_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Reads `DATABASE_URL` alone, for `migrate`.
pub fn database_url(environment: &Environment) -> Result<String, SettingError> {
    let url = environment
        .get("DATABASE_URL")
        .unwrap_or("sqlite://orders.db?mode=rwc");
    // The value may contain a password, so it is not repeated.
    let (Some(backend), Ok(parsed)) = (Backend::of(url), Url::parse(url)) else {
        return Err(SettingError::new(
            "DATABASE_URL",
            "must begin with postgres:// or sqlite: (such as sqlite://orders.db?mode=rwc)",
        ));
    };
    // The driver would ignore a misspelt parameter and log its value: the password in `?passwort=`,
    // for example.
    let known = |name: &str| POSTGRES_PARAMETERS.contains(&name) || name.starts_with("options[");
    if backend == Backend::Postgres && !parsed.query_pairs().all(|(name, _)| known(&name)) {
        return Err(SettingError::new(
            "DATABASE_URL",
            format!(
                "has a parameter that the driver for PostgreSQL does not know (it knows {})",
                POSTGRES_PARAMETERS.join(", ")
            ),
        ));
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<String, SettingError> {
        database_url(&Environment::from_iter([("DATABASE_URL", url)]))
    }

    fn mistake(url: &str) -> String {
        read(url).unwrap_err().to_string()
    }

    #[test]
    fn a_parameter_that_the_database_does_not_know_is_refused_and_not_repeated() {
        let url = |query: &str| format!("postgres://orders@db/orders?{query}");
        let message = mistake(&url("passwort=secret"));
        assert!(
            message.starts_with(
                "DATABASE_URL has a parameter that the driver for PostgreSQL does \
                              not know (it knows "
            ) && !message.contains("secret"),
            "{message}"
        );
        // An unescaped password may end up in the query.
        for cut in ["sec?ret", "1?ret"] {
            let message = mistake(&format!("postgres://orders:{cut}@db/orders"));
            assert!(!message.contains("ret@"), "{message}");
        }
        for query in [
            "",
            "sslmode=require&password=x",
            "options[statement_timeout]=1s",
        ] {
            let url = url(query);
            assert_eq!(read(&url).unwrap(), url);
        }
    }
}
