"""Conformance suites, in-memory fakes and given/when/then: shipped, so that another backend can prove itself."""
