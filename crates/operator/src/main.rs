//! The program `postgres-provisioner`.

use std::io::Write as _;
use std::process::ExitCode;

use operator::cli::flags::RunArgs;
use operator::cli::{Cli, Command};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::read() {
        Ok(Command::Run(args)) => run(*args).await,
        Ok(Command::Crds) => print(&operator::crds_yaml()?),
        Ok(Command::Version) => print(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => Ok(refuse(&error)),
    }
}

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let logging = args.log_filter().map(|filter| (filter, args.log_format()));
    let (settings, (filter, format)) = match args.settings().and_then(|settings| Ok((settings, logging?))) {
        Ok(started) => started,
        Err(error) => return Ok(refuse(&error)),
    };
    operator::logging::start(filter, format);
    let server = settings.server.as_ref().map(|server| format!("{}:{}", server.host, server.port));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        server = server.as_deref().unwrap_or("none"),
        resync_seconds = settings.resync.as_secs(),
        "postgres-provisioner starts"
    );
    let ended = match operator::client().await {
        Ok(client) => operator::run(settings, client, operator::shutdown_signal()).await.map_err(Into::into),
        Err(error) => Err(anyhow::Error::new(error)),
    };
    // In the log's form, whatever that is.
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("postgres-provisioner ends: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn refuse(error: &operator::cli::Error) -> ExitCode {
    let message = error.to_string().replace('\n', " ");
    _ = writeln!(std::io::stderr(), "postgres-provisioner: {message}");
    ExitCode::from(2)
}
