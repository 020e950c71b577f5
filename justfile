# Names for people; `just --list` shows them.

# a running lakehouse with TPC-H tables
demo *arguments:
    cargo run --release -- demo {{ arguments }}

# everything, or the named rings: `just test fast`, `just test tpch`
test *rings:
    tests/run {{ rings }}

# a measurement: `just bench startup`
bench *arguments:
    cargo run --release -p tests --bin bench -- {{ arguments }}

# rewrite the generated protobuf code
proto:
    LAKEWING_REGENERATE=1 cargo test --release --workspace --test tidy generated_code_is_fresh

# write the answers of new SQL logic tests
slt:
    LAKEWING_SLT_COMPLETE=1 cargo test --release --workspace --test slt iceberg_local
