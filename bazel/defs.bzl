"""The macro that turns test files into Bazel targets."""

def pytest_tests(srcs, deps, data = []):
    """One py_test for each file of `srcs`: tests/a/test_b.py becomes the target tests/a/test_b.

    Args:
      srcs: test files.
      deps: Python libraries the tests import.
      data: files every test needs beside itself.
    """
    for src in srcs:
        native.py_test(
            name = src[:-len(".py")],
            size = "medium",
            srcs = [src, "//bazel:pytest_main.py"],
            args = ["-c $(location pyproject.toml)", "$(location %s)" % src],
            data = data,
            legacy_create_init = False,
            main = "//bazel:pytest_main.py",
            python_version = "PY3",
            # On a busy machine tracing alone may take minutes.
            timeout = "eternal",
            deps = deps,
        )
