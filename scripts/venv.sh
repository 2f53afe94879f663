# Sourced by scripts/egghead and scripts/test: one virtual environment, made once, by one process at a time.

# ensure_venv DIR EXTRAS: .venv holds DIR (editable) with "[EXTRAS]"; quick when pyproject.toml has not changed.
ensure_venv() {
  local here=$1 extras=$2 venv stamp python
  venv=$here/.venv
  stamp=$venv/installed-${extras:-base}.toml
  if [ -x "$venv/bin/egghead" ] && cmp -s "$here/pyproject.toml" "$stamp"; then return 0; fi
  python=${PYTHON:-python3}
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "egghead: needs Python 3.11 or newer; '$python' is not (set PYTHON=/path/to/python3.11)" >&2
    return 1
  fi
  mkdir -p "$venv"
  (
    flock 9   # two first starts at once install once
    if [ -x "$venv/bin/egghead" ] && cmp -s "$here/pyproject.toml" "$stamp"; then exit 0; fi
    echo "egghead: setting up .venv (once; about a minute) ..." >&2
    if ! { [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"; } >"$venv/install.log" 2>&1; then
      cat "$venv/install.log" >&2
      echo "egghead: could not make .venv; on Debian and Ubuntu: apt-get install python3-venv" >&2
      exit 1
    fi
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check -e "$here${extras:+[$extras]}" >>"$venv/install.log" 2>&1; then
      tail -n 20 "$venv/install.log" >&2
      echo "egghead: installing failed; the whole output is in .venv/install.log" >&2
      exit 1
    fi
    cp "$here/pyproject.toml" "$stamp"
    [ -z "$extras" ] || cp "$here/pyproject.toml" "$venv/installed-base.toml"
  ) 9>"$venv/.lock"
}
