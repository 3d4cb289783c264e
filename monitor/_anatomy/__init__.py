"""How anatomy is told from voxels: body, bone, what stands on bone, what an earlier visit knows, noise."""
