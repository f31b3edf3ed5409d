"""The TensorFlow of the first python3 on the PATH, as a repository to compile and link against."""

_BUILD = """
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob(["include/**"]),
    defines = {defines},
    # Headers of XLA include the last two by short names.
    includes = [
        "include",
        "include/external/highwayhash",
        "include/external/farmhash_archive/src",
    ],
)

exports_files([{libraries}])
"""

_FLAGS = """
VERSION = {version}
LOOPS = {loops}
GLUE = {glue}
INSTRUCTIONS = {instructions}
"""

_LIBRARIES = ["libtensorflow_framework.so.2", "libtensorflow_cc.so.2"]

def _installed_tensorflow_impl(context):
    python = context.which("python3")
    if not python:
        fail("There is no python3 on the PATH.")
    probe = context.path(Label("//bazel:find_tensorflow.py"))
    build = context.path(Label("//custom_ops:build.py"))
    found = context.execute([python, probe, build])
    if found.return_code:
        fail(found.stderr)
    facts = json.decode(found.stdout)
    for name in ["include"] + _LIBRARIES:
        context.symlink(facts["folder"] + "/" + name, name)
    libraries = ", ".join([repr(name) for name in _LIBRARIES])
    context.file("BUILD", _BUILD.format(defines = repr(facts["defines"]), libraries = libraries))
    flags = {name: repr(facts[name]) for name in ["version", "loops", "glue", "instructions"]}
    context.file("flags.bzl", _FLAGS.format(**flags))

installed_tensorflow = repository_rule(
    implementation = _installed_tensorflow_impl,
    doc = "Headers, libraries and flags; flags.bzl holds those that custom_ops/build.py compiles with.",
    environ = ["PATH"],
    local = True,
)
