//! The program `aldis`. Everything it does is in [`aldis::cli`].

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match aldis::cli::run(aldis::cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: `{:#}` joins an error and its causes with colons.
            eprintln!("aldis: {error:#}");
            ExitCode::from(aldis::cli::exit_code(&error))
        }
    }
}
