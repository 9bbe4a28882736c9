//! Uses the façade as a program of one's own does.

fn main() {
    println!("{}", env!("CARGO_PKG_NAME"));
}
