# The two that a newcomer needs are `make run` and `make test`.
.PHONY: run test test-tools bench test-bench fmt fmt-check lint doc crds image catalogue bench-policy bench-operator

FMT = cargo fmt -- --config imports_granularity=Crate,group_imports=StdExternalCrate

# The main job on embedded defaults: the proxy in front of simulated providers.
run:
	cargo run --quiet -- run -f examples/quickstart --sim --allow-private-endpoints

# Everything that CI runs.
test: fmt-check test-tools lint
	cargo test
	$(MAKE) doc
	tests/sdk/run
	tests/prometheus/run
	tests/image/run

# The control plane and the clients of the cluster tests; some ten minutes the first time.
test-tools:
	tests/tools/install

# What a request costs, beside a bare proxy and other gateways: docs/performance.md. Minutes.
bench:
	bench/run

# The benchmark's own tests; it is a package of its own, so `make test` stays as short as it is.
test-bench:
	cd bench && cargo clippy --target-dir ../target/bench-rig --all-targets --quiet -- -D warnings
	cd bench && cargo test --target-dir ../target/bench-rig

fmt:
	$(FMT)
	cd bench && $(FMT)

fmt-check:
	$(FMT) --check
	cd bench && $(FMT) --check

lint:
	cargo clippy --all-targets --quiet -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --quiet

# How soon a change is served and what it costs, on a real API server; long. Figures, no verdict.
bench-operator: test-tools
	cargo test --release --test cluster -- --ignored measure::

# Writes crds/ and charts/trunkline-crds anew from the types in src/api/.
crds:
	cargo run --quiet -- crds crds
	cargo run --quiet -- crds --helm charts/trunkline-crds/templates

# How good the choices are, in simulated time with fixed seeds; a minute, after the build.
bench-policy:
	cargo bench --quiet --profile policy --bench policy -- $(PARTS)

# Refreshes the built-in prices and capabilities from public data and prints what changed.
catalogue:
	catalogue/generate.py

# The container image as an OCI archive in target/image, without a container daemon.
image:
	packaging/image
