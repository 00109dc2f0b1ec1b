# The two that a newcomer needs are `make run` and `make test`.
.PHONY: run test bench fmt lint
