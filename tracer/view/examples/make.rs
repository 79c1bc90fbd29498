//! Writes a made trace: `make FILE BATCHES BATCH`.
use tracer_view::fixture::Plan;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n = |at: usize| args[at].parse().expect("a number");
    let plan = Plan { batches: n(2), batch: n(3), ..Plan::default() };
    std::fs::write(&args[1], plan.make().finish()).expect("written");
}
