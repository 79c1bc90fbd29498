//! `pvlab report`: a page about runs that are over, from the files that they wrote.

use std::fs;

use anyhow::{Context as _, bail};

use crate::cli::ReportArgs;
use crate::report;
use crate::results::AnyResults;

/// Reads results and writes a page about them.
///
/// # Errors
/// A file that cannot be read, or is something else, or a page that cannot be written.
pub fn report(args: &ReportArgs) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for path in &args.files {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| {
            format!("{shown} cannot be read; name a file that -J has written (pvlab net -J FILE)")
        })?;
        match AnyResults::read_all(&text) {
            Ok(all) => runs.extend(all),
            Err(why) => bail!("{shown}: {why}; name a file that -J has written"),
        }
    }
    let out = &args.out;
    let page = report::html_of_any("pvlab", &runs)?;
    let cannot = || format!("cannot write {}; name another file with -o", out.display());
    fs::write(out, page).with_context(cannot)?;
    super::print(&format!("wrote {}\n", out.display()))
}
