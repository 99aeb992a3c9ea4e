"""COCO: annotations, masks, images and splits, from any folder that holds them."""
