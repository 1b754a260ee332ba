#!/usr/bin/env bash
# Resolves what the action's inputs ask for (INPUT_*). The answer goes to the step's outputs and,
# as IMAGE_* variables, to the environment of the job's later steps; a failure writes neither.
set -euo pipefail

if ! command -v imagectl >/dev/null; then
  # the same imagectl as this action, from the checkout that the runner has made of it, on the very
  # packages that it was tested with: what verifies images is not to be what an index has today
  checkout=$GITHUB_ACTION_PATH/../..
  python3 -m pip install --quiet --require-hashes \
    -r "$checkout/requirements/run.txt" -r "$checkout/requirements/build.txt"
  python3 -m pip install --quiet --no-deps --no-build-isolation "$checkout"
fi

arguments=()
for option in config catalog root location format lock locked; do
  input="INPUT_${option^^}"
  if [ -n "${!input:-}" ]; then
    arguments+=("--$option" "${!input}")
  fi
done
read -r -a images <<<"${INPUT_IMAGES:-}"
for image in "${images[@]}"; do
  if [[ $image == -* ]]; then
    echo "imagectl: '$image' is not an image" >&2
    exit 2
  fi
done

case "${INPUT_MATRIX:-false}" in
  true)
    matrix=$(imagectl resolve "${arguments[@]}" --matrix github "${images[@]}")
    printf 'matrix=%s\n' "$matrix" >>"$GITHUB_OUTPUT"
    ;;
  false)
    variables=$(imagectl resolve "${arguments[@]}" --as env "${images[@]}")
    printf '%s\n' "$variables" >>"$GITHUB_OUTPUT"
    printf '%s\n' "$variables" >>"$GITHUB_ENV"
    ;;
  *)
    echo "imagectl: the input 'matrix' is '$INPUT_MATRIX'; write true or false" >&2
    exit 2
    ;;
esac
