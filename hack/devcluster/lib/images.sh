# Images of the cluster's containerd. Sourced, not run.

has_image() { ctrd images ls -q | grep -qx "$1"; }

import_archive() { ctrd images import "$@"; } # FILE, or - for standard input

import_binary() { # NAME BINARY [PATH]: an image with nothing but one static binary
  local folder path=${3:-$2}
  folder=$(mktemp -d)
  install -m 755 "$BIN/$2" "$folder/$path"
  tar -C "$folder" --owner=0 --group=0 -cf "$folder/layer.tar" "$path"
  python3 "$HERE/../images/archive.py" "$1" "{\"Entrypoint\": [\"/$path\"], \"User\": \"65532:65532\"}" "$folder/layer.tar" | import_archive -
  rm -r "$folder"
}

containers_of() { # NAMESPACE POD: ids of the pod's own containers, without the one that holds its network
  ctrd containers ls -q "labels.\"io.kubernetes.pod.namespace\"==$1,labels.\"io.kubernetes.pod.name\"==$2,labels.\"io.cri-containerd.kind\"==container"
}
