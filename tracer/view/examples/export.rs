//! export IN OUT [MOST]
use tracer_view::{File, Filter, export};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    let file = File::open(args[1].as_ref()).expect("file");
    let view = file.view().expect("view");
    println!("view {:?}", t.elapsed());
    let most = args.get(3).map(|m| m.parse().expect("number"));
    let e = export(&view, &Filter { most, ..Filter::default() }, args[2].as_ref()).expect("export");
    println!("{:?} {e:?}", t.elapsed());
    for line in std::fs::read_to_string("/proc/self/status").unwrap().lines() {
        if line.starts_with("Rss") || line.starts_with("VmHWM") {
            println!("{line}");
        }
    }
}
