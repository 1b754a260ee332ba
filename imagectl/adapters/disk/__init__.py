"""From a disk to its file tree, from the tree to a disk: no root, no mount, the same bytes always.

The canonical tar of the file tree is the identity of a version. Disks are pure functions of
(tar, size, tool versions); nothing of a build VM's worn disk but its files gets into an image.

- ``tree``: the vocabulary: entries, where they come from, the canonical tree.
- ``rules``: what in a tree is volatile, and what becomes of it.
- ``packed``: entries, sorted, in little memory. ``canonical``: any source -> the canonical tar.
  ``archive``: any tar as a source. ``members``: a canonical tar, one member at a time.
- ``ext4``: a disk as a source. ``partitions``: the table that says where in the disk.
- ``initramfs``: rebuilds the initrds of a tree on this machine.
- ``writer``: tree -> raw disk. ``boot``: how the disk, or a tree directly, is booted.
- ``deliver``: raw disk -> delivery formats: ``qcow2``, ``gce``, ``vmdk``, ``ova``. ``blocks``: what
  is in a raw disk.
- ``convert``: any disk -> raw; tree <-> its compressed form.
"""
