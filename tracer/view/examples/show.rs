//! show tree|top FILE
use tracer_view::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let file = File::open(args[2].as_ref()).expect("file");
    let view = file.view().expect("view");
    match args[1].as_str() {
        "tree" => {
            tree(&view, &Filter::default(), Paint::new(true), &mut std::io::stdout()).expect("tree")
        }
        "top" => print!(
            "{}",
            Top::new(&view, &Filter::default(), false).expect("top").text(30, Paint::new(false))
        ),
        "explain" => print!("{}", explain(&view).text(Paint::new(false))),
        _ => {}
    }
}
